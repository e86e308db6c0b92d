//! Holds the code against what is written down: SPEC.md (`document`) and the files of format
//! version 1 (`golden`). Both are made of the values in `samples`.

// Not needed to build them, but by it clippy knows that helpers, too, are test code.
#[cfg(test)]
mod document;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod samples;
