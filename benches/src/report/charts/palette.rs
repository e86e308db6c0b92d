//! One colour for each engine, the same in all charts: those of Okabe and Ito, which people who see
//! fewer colours can tell apart.

use plotters::style::RGBColor;

const COLORS: &[(&str, RGBColor)] = &[
    ("orlop", RGBColor(0, 0, 0)),
    ("rocksdb", RGBColor(0, 114, 178)),
    ("fjall", RGBColor(230, 159, 0)),
    ("surrealkv", RGBColor(0, 158, 115)),
    ("redb", RGBColor(213, 94, 0)),
    ("lmdb", RGBColor(86, 180, 233)),
    ("sled", RGBColor(204, 121, 167)),
];

/// For the engine that does nothing, and for any that has no colour yet.
const OTHER: RGBColor = RGBColor(150, 150, 150);

pub(super) fn color(engine: &str) -> RGBColor {
    COLORS.iter().find(|(name, _)| *name == engine).map_or(OTHER, |(_, color)| *color)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::KINDS;

    #[test]
    fn every_engine_has_a_color_of_its_own() {
        let mut colors: Vec<_> =
            KINDS.iter().map(|kind| color(kind.name)).map(|c| (c.0, c.1, c.2)).collect();
        colors.sort_unstable();
        colors.dedup();
        assert_eq!(colors.len(), KINDS.len());
    }
}
