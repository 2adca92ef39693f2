//! The kept group: the last group of pictures of a relay, bounded (LINK).
