//! Why a camera failed: retina's errors to reasons (CAMERAS).
