//! H.264 (ITU-T H.264): NAL units, parameter sets (MEDIA).
