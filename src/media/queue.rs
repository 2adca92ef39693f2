//! Queues of frames, bounded in bytes, key-frame-aware (LINK).
