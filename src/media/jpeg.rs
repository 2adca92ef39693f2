//! JPEG (ITU-T T.81): segments, quantisation tables (MEDIA).
