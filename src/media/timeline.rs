//! Time lines: rebasing RTP time onto the relay's own (CAMERAS).
