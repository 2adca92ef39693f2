//! Digest and Basic challenges (RFC 7616, RFC 2617) of the field, and their answers.
