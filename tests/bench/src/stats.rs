//! Medians and spreads.

use serde_json::{Value, json};

/// A set of measurements.
#[derive(Clone, Debug)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Of any order.
    pub fn new(mut values: Vec<f64>) -> Figures {
        values.sort_by(f64::total_cmp);
        Figures(values)
    }

    /// The quotient of two series, round by round: what slows down a whole round cancels out.
    pub fn ratio(numerator: &[f64], denominator: &[f64]) -> Figures {
        Figures::new(numerator.iter().zip(denominator).map(|(n, d)| n / d).collect())
    }

    /// The value below which that share of the figures lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.0.len().saturating_sub(1)) as f64;
        let at = |index: f64| self.0.get(index as usize).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(place.floor()), at(place.ceil()));
        low + (high - low) * place.fract()
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The middle half.
    pub fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Smallest and largest.
    pub fn range(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    /// For the report file.
    pub fn json(&self) -> Value {
        let ((q1, q3), (min, max)) = (self.quartiles(), self.range());
        json!({
            "median": rounded(self.median()),
            "q1": rounded(q1),
            "q3": rounded(q3),
            "min": rounded(min),
            "max": rounded(max),
            "rounds": self.0.len(),
        })
    }
}

/// Five digits: more would only look exact.
pub fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Figures::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Figures::new(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Figures::new(vec![5.0, 1.0, 2.0, 3.0, 4.0]).quartiles(), (2.0, 4.0));
        assert!(Figures::new(vec![]).median().is_nan());
    }

    #[test]
    fn five_digits_are_kept() {
        assert_eq!(rounded(1_234_567.0), 1_234_600.0);
        assert_eq!(rounded(0.123_456_7), 0.123_46);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(Figures::ratio(&[2.0, 40.0], &[1.0, 20.0]).range(), (2.0, 2.0));
    }
}
