//! Templates as a whole: their bounds, and what the reference says.
