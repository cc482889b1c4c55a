//! How far a key is towards its bounds.

use super::windows::{SPANS, Span, Sums, Windows};
use crate::model::UNIT;

/// Bounds by window, in model units.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    names: [u64; SPANS],
    forms: [u64; SPANS],
    answers: [u64; SPANS],
    /// Of `names`, with a clear encoding.
    encoded: [u64; SPANS],
}

/// A clear encoding is a second witness: with it this part of the bound is enough.
const ENCODED_PART: u64 = 3;

impl Bounds {
    /// Of bytes, shortest window first; for new names, for what their form bounds, and for answers.
    pub fn new(names: [u64; SPANS], forms: [u64; SPANS], answers: [u64; SPANS]) -> Self {
        let units = |bytes: u64| bytes.saturating_mul(8 * u64::from(UNIT)).max(1);
        let names = names.map(units);
        let encoded = names.map(|bound| (bound / ENCODED_PART).max(1));
        Self { names, forms: forms.map(units), answers: answers.map(units), encoded }
    }

    /// The same, but no less than so many bytes are enough in a clear encoding.
    #[must_use]
    pub fn encoded_from(self, bytes: u64) -> Self {
        let least = bytes.saturating_mul(8 * u64::from(UNIT)).max(1);
        Self { encoded: self.encoded.map(|bound| bound.max(least)), ..self }
    }

    pub fn names(&self, span: Span) -> u64 {
        self.names[span as usize]
    }

    pub fn forms(&self, span: Span) -> u64 {
        self.forms[span as usize]
    }

    pub fn answers(&self, span: Span) -> u64 {
        self.answers[span as usize]
    }

    pub fn encoded(&self, span: Span) -> u64 {
        self.encoded[span as usize]
    }
}

/// What is compared with which bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// What new names say.
    #[default]
    Names,
    /// What is in them by form: addresses, numbers, hashes that are answered by a verdict.
    Forms,
    /// What new names say in a clear encoding, each asked once and answered with a payload of its own.
    Encoded,
    /// What answers brought in that was not seen before.
    Answers,
}

/// One window and its bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub kind: Kind,
    pub span: Option<Span>,
    pub units: u64,
    pub bound_units: u64,
    pub new_names: u64,
    pub queries: u64,
}

impl Standing {
    pub(super) fn new(kind: Kind, span: Span, units: u64, bound_units: u64, sums: Sums) -> Self {
        let Sums { new_names, queries, .. } = sums;
        Self { kind, span: Some(span), units, bound_units, new_names, queries }
    }

    /// The heaviest of windows that hold new names only.
    pub fn of_names(windows: &Windows, bounds: &Bounds) -> Self {
        Span::ALL.into_iter().fold(Self::default(), |most, span| {
            let sums = windows.sums(span);
            most.max(Self::new(Kind::Names, span, sums.new_units, bounds.names(span), sums))
        })
    }

    pub fn is_over(&self) -> bool {
        self.span.is_some() && self.units >= self.bound_units
    }

    /// Units as a multiple of the bound.
    pub fn weight(&self) -> f64 {
        self.units as f64 / self.bound_units.max(1) as f64
    }

    /// The one nearer to its bound, or further over it; the earlier one if there is nothing between them.
    pub(super) fn max(self, other: Self) -> Self {
        let (own, theirs) = (
            u128::from(self.units) * u128::from(other.bound_units.max(1)),
            u128::from(other.units) * u128::from(self.bound_units.max(1)),
        );
        if theirs > own || self.span.is_none() { other } else { self }
    }
}
