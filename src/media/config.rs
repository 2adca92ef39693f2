//! Codec configurations: avcC, hvcC, RFC 6381 strings (MEDIA).
