//! The bytes of a media stream: group header, unit header. Pure, with golden examples (LINK).
