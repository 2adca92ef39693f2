//! Certificates for trials: `fanal certs` (AUTH).
