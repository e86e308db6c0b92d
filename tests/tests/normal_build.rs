//! What must not be in a build without the feature `seeded-bugs`: anything of the seeded bugs.

use std::{env, fs};

use orlop::Store;

/// A module of a crate as it stands in a symbol's name. Put together here, so that the name itself
/// is not in this program.
fn symbol(crate_name: &str, module: &str) -> Vec<u8> {
    let part = |name: &str| format!("{}{name}", name.len());
    [part(crate_name), part(module)].concat().into_bytes()
}

/// This program holds the engine, compiled with the same features: its own file says what is in it.
#[test]
fn only_a_build_with_the_feature_has_symbols_of_seeded_bugs() {
    Store::in_memory().unwrap().database("d").unwrap().put("the engine", "is linked").unwrap();
    let binary = fs::read(env::current_exe().unwrap()).unwrap();
    let holds = |symbol: &[u8]| binary.windows(symbol.len()).any(|window| window == symbol);
    assert!(holds(&symbol("orlop", "flow")), "the program has no symbols to look for");
    assert_eq!(holds(&symbol("orlop", "seeded")), cfg!(feature = "seeded-bugs"));
}
