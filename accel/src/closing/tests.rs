//! Closing, with a clock cranked by hand.
