//! What both vector engines need of AVX-512 IFMA: whether the CPU has it, and arrays of five limbs.
//!
//! Absent: arithmetic. The fields differ in radix and reduction, so each has its own.

/// Whether the CPU has every instruction set that the lanes are compiled for.
pub(crate) fn is_present() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
}

/// An array of five, element by element. Closures in `map` or `from_fn` would not be compiled for the instruction set.
macro_rules! five {
    (|$i:ident| $element:expr) => {
        [
            {
                let $i = 0;
                $element
            },
            {
                let $i = 1;
                $element
            },
            {
                let $i = 2;
                $element
            },
            {
                let $i = 3;
                $element
            },
            {
                let $i = 4;
                $element
            },
        ]
    };
}
pub(crate) use five;
