//! Of what was measured in rounds: noise of a shared machine has long tails, so no mean is taken.

/// Lower quartile, median, upper quartile; of an even number the upper of two. Zeroes of nothing.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(0.0))
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quartiles(values)[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_median_in_any_order() {
        let whole = |values: &[f64]| quartiles(values.iter().copied()).map(|value| value as i64);
        assert_eq!(whole(&[5.0, 1.0, 4.0, 2.0, 3.0]), [2, 3, 4]);
        assert_eq!(whole(&[4.0, 1.0, 3.0, 2.0]), [2, 3, 4]);
        assert_eq!(whole(&[7.0]), [7; 3]);
        assert_eq!(whole(&[]), [0; 3]);
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
