//! SIMD levels, block formats and kernels.
