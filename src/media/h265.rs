//! H.265 (ITU-T H.265): NAL units, parameter sets, leading pictures (MEDIA).
