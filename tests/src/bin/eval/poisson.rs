//! How often something may really happen that was seen so many times.

/// Chance that the bound is too low.
const RISK: f64 = 0.05;

/// Exact upper bound (one-sided, 95 %) on the mean of a Poisson count: the mean at which seeing `count` or fewer has a
/// chance of 5 % (Garwood 1936).
pub(crate) fn upper_bound(count: u64) -> f64 {
    let n = count as f64;
    // At 3 + n + 4 sqrt(n) the chance is under 5 % for every n, so that the bound lies below.
    let (mut low, mut high) = (n, 3.0 + n + 4.0 * n.sqrt());
    for _ in 0..100 {
        let middle = low.midpoint(high);
        if at_most(count, middle) > RISK { low = middle } else { high = middle }
    }
    high
}

/// P(X <= count) for a Poisson mean, by its logarithm so that large means do not underflow.
fn at_most(count: u64, mean: f64) -> f64 {
    let mut term = -mean;
    let mut sum = term.exp();
    for k in 1..=count {
        term += (mean / k as f64).ln();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed tables have it, two digits after the point.
    #[test]
    fn bounds_are_those_of_the_tables() {
        for (count, bound) in [
            (0, 3.00),
            (1, 4.74),
            (2, 6.30),
            (3, 7.75),
            (4, 9.15),
            (5, 10.51),
            (10, 16.96),
            (20, 29.06),
            (50, 63.29),
        ] {
            assert!((upper_bound(count) - bound).abs() <= 0.005, "{count}: {} {bound}", upper_bound(count));
        }
    }

    #[test]
    fn the_bound_has_the_chance_it_claims_also_for_many() {
        for count in [0, 7, 600, 5_000] {
            let chance = at_most(count, upper_bound(count));
            assert!((chance - RISK).abs() < 1e-6, "{count}: {chance}");
        }
    }
}
