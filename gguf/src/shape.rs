//! The shape of a tensor, outermost dimension first.
//!
//! GGUF writes dimensions innermost first (`ne`). They are turned round once, where a tensor's header entry is
//! read or written, and nobody outside those two places ever sees the reversed order.

use std::fmt;
use std::ops::Deref;

use crate::error::{Spot, shown};
use crate::{Error, TensorType};

/// ggml's own limit (`GGML_MAX_DIMS`).
pub(crate) const MAX_DIMS: usize = 4;

/// Up to four dimensions, outermost first, row-major: `[rows, cols]` for a matrix. Behaves as a slice.
///
/// No dimension is zero. A shape without dimensions is a single number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_DIMS],
    n: usize,
}

impl Shape {
    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.n]
    }

    /// Length of the innermost dimension: the elements of one row.
    pub fn cols(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all dimensions but the innermost.
    pub fn rows(&self) -> usize {
        self.dims().split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    /// Number of elements.
    pub fn elems(&self) -> usize {
        self.dims().iter().product()
    }

    /// Checks dimensions (outermost first) of a tensor of type `ty` and says how many bytes it has.
    ///
    /// The number of elements must fit an `i64`, as in ggml, and the number of bytes an `i64` too, so that
    /// `rows`, `elems` and every later sum of two such numbers cannot overflow.
    pub(crate) fn checked(
        name: &str,
        ty: TensorType,
        dims: &[u64],
        spot: Spot,
    ) -> Result<(Shape, u64), Error> {
        if dims.len() > MAX_DIMS {
            return Err(Error::TooManyDims { tensor: shown(name), spot, found: dims.len() as u64 });
        }
        if let Some(dim) = dims.iter().position(|&dim| dim == 0) {
            return Err(Error::ZeroDim { tensor: shown(name), spot, dim });
        }
        let too_big = || Error::ShapeOverflow { tensor: shown(name), spot, dims: dims.to_vec(), ty };
        let mut shape = Shape { dims: [1; MAX_DIMS], n: dims.len() };
        let mut elems = 1u64;
        for (place, &dim) in shape.dims.iter_mut().zip(dims) {
            *place = usize::try_from(dim).map_err(|_| too_big())?;
            elems = elems.checked_mul(dim).filter(|&n| n <= i64::MAX as u64).ok_or_else(too_big)?;
        }
        usize::try_from(elems).map_err(|_| too_big())?;
        let Some(row) = ty.row_bytes(shape.cols()) else {
            return Err(match shape.cols().is_multiple_of(ty.block_len()) {
                true => too_big(),
                false => Error::PartialBlock { tensor: shown(name), spot, ty, cols: shape.cols() },
            });
        };
        let bytes =
            row.checked_mul(shape.rows() as u64).filter(|&n| n <= i64::MAX as u64).ok_or_else(too_big)?;
        Ok((shape, bytes))
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        self.dims()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dims().fmt(f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}
