//! Pictures out of a camera's RTP packets: pure, time passed in.
