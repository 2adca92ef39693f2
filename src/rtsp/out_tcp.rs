//! RTP in the RTSP connection (MEDIA).
