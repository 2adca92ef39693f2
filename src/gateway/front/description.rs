//! Session descriptions (SDP, RFC 8866) of the field, read tolerantly.
