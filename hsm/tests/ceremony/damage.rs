//! (damage)
