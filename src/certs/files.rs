//! A directory of certificates, keys and lists, as `fanal certs` keeps it (AUTH).
