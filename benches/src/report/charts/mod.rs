//! The pictures: SVG files with a white ground, for light and dark pages alike.

mod canvas;
mod latency;
mod palette;
mod ratios;
mod scale;
mod timeline;

use super::rows::Results;
use crate::failure::Result;

/// One file.
pub(super) struct Chart {
    pub(super) file: &'static str,
    /// What it shows, for those who cannot see it.
    pub(super) title: &'static str,
    /// Its content; `None` where the run has nothing for it.
    pub(super) draw: fn(&Results<'_>) -> Result<Option<String>>,
}

pub(super) const CHARTS: &[Chart] = &[
    Chart {
        file: "ratios.svg",
        title: "Ratios of Orlop to each peer for the main workloads, with their intervals",
        draw: ratios::draw,
    },
    Chart {
        file: "latency.svg",
        title: "Latency by percentile at a fixed load",
        draw: latency::draw,
    },
    Chart {
        file: "timeline.svg",
        title: "Throughput over time of the fills, one strip for each engine",
        draw: timeline::draw,
    },
];
