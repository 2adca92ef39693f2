//! RTSP messages of the field, read leniently: heads, interleaved packets, resynchronisation.
