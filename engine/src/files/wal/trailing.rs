//! The segment before the current one, as long as its last piece is on its way.
//!
//! Nobody waits for that piece, so a rotation does not either: the commits in it are on the stage, which stays as
//! it is until the piece has landed. Meanwhile those of the next segment are put onto another one. Only one
//! segment trails: the next rotation waits for it, if it has to.

use orlop_formats::ids::FileNumber;

use super::Log;
use super::outlet::Outlet;
use super::segment::Segment;
use super::stage::Stage;
use crate::error::Result;
use crate::sync::Arc;

/// See the module.
pub(super) struct Trailing {
    number: FileNumber,
    outlet: Arc<Outlet>,
    /// Where its last commits are safe meanwhile.
    stage: Option<Stage>,
    /// As [`Segment::written_once`], if it can become a spare.
    written_once: Option<u64>,
}

impl Trailing {
    pub(super) fn number(&self) -> FileNumber {
        self.number
    }

    pub(super) fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }
}

impl Log {
    /// Lets a segment trail that gets no more, and whose last piece was handed over.
    pub(super) fn trail(&mut self, segment: &Segment) {
        let written_once = (!segment.gets_no_more()).then(|| segment.written_once());
        let (stage, next) = (self.stage.take(), self.idle_stage.take());
        let (stage, next) = seeded!(TrailingStageReused => (next, stage), else (stage, next));
        let (number, outlet) = (segment.number, segment.outlet());
        self.trailing = Some(Trailing { number, outlet, stage, written_once });
        self.stage = next;
    }

    /// Ends the trailing of a segment, if its last piece has landed.
    pub(super) fn settle_if_landed(&mut self) -> Result<()> {
        match &self.trailing {
            Some(trailing) if trailing.outlet.is_free() => self.settle(),
            _ => Ok(()),
        }
    }

    /// Ends the trailing of a segment, whose last piece is waited for.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(Trailing { outlet, .. }) = &self.trailing else { return Ok(()) };
        // If it fails it trails on, and so does its stage, where everything is.
        outlet.reap()?;
        let Some(Trailing { number, outlet, stage, written_once }) = self.trailing.take() else {
            return Ok(());
        };
        self.idle_stage = stage.or(self.idle_stage.take());
        if let Some(written_once) = written_once {
            self.spares.ended(number, written_once);
        }
        let buffer = outlet.end_writing();
        match &self.current {
            Some(segment) => segment.keep(buffer),
            None => self.buffer = buffer,
        }
        Ok(())
    }
}
