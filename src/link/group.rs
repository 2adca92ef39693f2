//! One group of pictures on one unidirectional stream: writer and reader (LINK).
