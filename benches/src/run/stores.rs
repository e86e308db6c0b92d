//! Where stores lie while a run goes on, and who is to make them.

use std::fs;
use std::path::{Path, PathBuf};

use super::child;
use super::plan::Step;
use crate::catalog::Group;
use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::record::Round;
use crate::worker::Job;

/// A directory with one directory for each store.
pub(super) struct Stores {
    dir: PathBuf,
}

impl Stores {
    /// In a directory of its own inside `dir`: what else lies there is not touched.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.join("orlop-benches-stores") }
    }

    /// Runs the worker, or the two, of one step, on the store that it needs.
    pub(super) fn work(&self, step: &Step, options: &Options) -> Result<Vec<Round>> {
        if step.group == Group::Load || step.group.needs_base() {
            return self.work_on_base(step, options);
        }
        let dir = self.dir.join(format!("new-{}", step.engine));
        make_anew(&dir)?;
        let job = job(step, &dir);
        if step.group == Group::Crash {
            child::die(&Job { die: true, ..job.clone() }, options)?;
        }
        let rounds = child::work(&job, options);
        fs::remove_dir_all(&dir)?;
        rounds
    }

    fn work_on_base(&self, step: &Step, options: &Options) -> Result<Vec<Round>> {
        let dir = self.dir.join(format!("base-{}-{}-{}", step.table, step.class, step.engine));
        // Says that the store is whole, and of which round.
        let mark = dir.with_extension("whole");
        let of_this_round = fs::read_to_string(&mark).is_ok_and(|text| text == whole(step));
        if step.group == Group::Load {
            let rounds = load(step, &dir, &mark, options)?;
            self.end(step, &dir, &mark)?;
            return Ok(rounds);
        }
        if !of_this_round {
            // Nobody asked for its rates, or the run was interrupted: it is made all the same.
            let unmeasured = Step { group: Group::Load, workloads: Vec::new(), ..step.clone() };
            load(&unmeasured, &dir, &mark, options)?;
        }
        if step.group == Group::Update {
            fs::remove_file(&mark)?;
        }
        let rounds = child::work(&job(step, &dir), options);
        self.end(step, &dir, &mark)?;
        rounds
    }

    fn end(&self, step: &Step, dir: &Path, mark: &Path) -> Result<()> {
        if step.ends_base {
            remove_file(mark)?;
            fs::remove_dir_all(dir)?;
        }
        Ok(())
    }

    /// Removes what is left of all stores.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn whole(step: &Step) -> String {
    format!("round {}\n", step.round)
}

fn load(step: &Step, dir: &Path, mark: &Path, options: &Options) -> Result<Vec<Round>> {
    remove_file(mark)?;
    make_anew(dir)?;
    let rounds = child::work(&job(step, dir), options)?;
    fs::write(mark, whole(step))?;
    Ok(rounds)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn make_anew(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::create_dir_all(dir)
        .map_err(|error| Failure::from(error).during(format_args!("make {}", dir.display())))
}

fn job(step: &Step, dir: &Path) -> Job {
    Job {
        round: step.round,
        engine: step.engine.clone(),
        group: step.group,
        table: step.table,
        class: step.class,
        workloads: step.workloads.clone(),
        dir: dir.to_owned(),
        die: false,
    }
}
