//! A white sheet in pixels, and the few things that are drawn on it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::Result;

pub(super) const INK: RGBColor = RGBColor(32, 32, 32);
pub(super) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(super) const LINE: RGBColor = RGBColor(222, 222, 222);

/// What plotters divides a size of text by before it writes it down.
const OF_PLOTTERS: f64 = 1.24;

/// Where a text lies, seen from its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    Right,
    Left,
    Around,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Font {
    pub(super) pixels: f64,
    pub(super) bold: bool,
    pub(super) color: RGBColor,
}

pub(super) const TITLE: Font = Font { pixels: 16.0, bold: true, color: INK };
pub(super) const HEADING: Font = Font { pixels: 12.5, bold: true, color: INK };
pub(super) const TEXT: Font = Font { pixels: 11.5, bold: false, color: INK };
pub(super) const NOTE: Font = Font { pixels: 11.5, bold: false, color: FAINT };

pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws on a sheet of that size; the SVG.
pub(super) fn paint(
    (width, height): (i32, i32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    let size = (width.unsigned_abs(), height.unsigned_abs());
    let canvas = Canvas { area: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
    canvas.area.fill(&WHITE)?;
    draw(&canvas)?;
    canvas.area.present()?;
    drop(canvas);
    Ok(svg)
}

impl Canvas<'_> {
    pub(super) fn text(&self, at: (i32, i32), lies: Lies, font: Font, text: &str) -> Result<()> {
        let style = if font.bold { FontStyle::Bold } else { FontStyle::Normal };
        let family = FontFamily::SansSerif;
        let descriptor = FontDesc::new(family, font.pixels * OF_PLOTTERS, style);
        let side = match lies {
            Lies::Right => HPos::Left,
            Lies::Left => HPos::Right,
            Lies::Around => HPos::Center,
        };
        let style =
            TextStyle::from(descriptor).color(&font.color).pos(Pos::new(side, VPos::Center));
        Ok(self.area.draw(&Text::new(text.to_owned(), at, style))?)
    }

    /// A line through points.
    pub(super) fn line(
        &self,
        points: impl Into<Vec<(i32, i32)>>,
        color: RGBColor,
        width: u32,
    ) -> Result<()> {
        let style = color.stroke_width(width);
        Ok(self.area.draw(&PathElement::new(points.into(), style))?)
    }

    /// A filled rectangle between two of its corners.
    pub(super) fn fill(
        &self,
        (x0, y0): (i32, i32),
        (x1, y1): (i32, i32),
        color: RGBColor,
    ) -> Result<()> {
        let corners = [(x0.min(x1), y0.min(y1)), (x0.max(x1), y0.max(y1))];
        Ok(self.area.draw(&Rectangle::new(corners, color.filled()))?)
    }

    /// A filled area between a line and its ground.
    pub(super) fn area(&self, points: Vec<(i32, i32)>, color: RGBColor) -> Result<()> {
        Ok(self.area.draw(&Polygon::new(points, color.filled()))?)
    }

    pub(super) fn dot(&self, at: (i32, i32), color: RGBColor) -> Result<()> {
        Ok(self.area.draw(&Circle::new(at, 3, color.filled()))?)
    }
}
