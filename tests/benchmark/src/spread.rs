//! What the repetitions of a measurement come to: their median, and how far they lie apart.

use std::fmt;

use serde::Serialize;

/// A median with the least and the greatest value.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the values lie above it.
    pub median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    /// Of the values of all repetitions; zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let (below, above) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Self { median: f64::midpoint(at(below), at(above)), least: at(0), greatest: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = formatter.precision().unwrap_or(1);
        write!(formatter, "{:.decimals$} ({:.decimals$}–{:.decimals$})", self.median, self.least, self.greatest)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_of_values_lies_between_the_middle_two() {
        assert_eq!(format!("{:.1}", Spread::of([4.0, 1.0, 3.0, 2.0])), "2.5 (1.0–4.0)");
        assert_eq!(format!("{:.1}", Spread::of([3.0, 1.0, 2.0])), "2.0 (1.0–3.0)");
        assert_eq!(format!("{:.1}", Spread::of([])), "0.0 (0.0–0.0)");
    }
}
