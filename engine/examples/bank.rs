//! A small bank on Orlop, tested against crashes.
//!
//! Money moves between accounts. One way of moving it takes it from the first account in one
//! commit and gives it to the second in another; every test that does not crash passes. The other
//! way does both in one batch. [`CrashTest`] tells them apart within a second:
//!
//! ```sh
//! cargo run -p orlop --features sim --example bank
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use orlop::sim::{CrashTest, Failure, History, Report, SimEnv, Survivor};
use orlop::{Background, Database, Durability, Store};

/// What everybody owns.
type Balances = BTreeMap<Vec<u8>, u64>;

const ACCOUNTS: [&str; 3] = ["ada", "ben", "cleo"];

fn open(disk: &SimEnv) -> orlop::Result<Store> {
    // Without a thread of its own every run is the same run. A memtable of 4 KiB lets a small
    // program meet flushes and compactions, too.
    let builder = Store::builder().env(Arc::new(disk.clone())).background(Background::Manual);
    builder.memtable_size(4 << 10).open("/bank")
}

fn balance(accounts: &Database, name: &str) -> orlop::Result<u64> {
    let found = accounts.get(name)?;
    Ok(found.map_or(0, |value| value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
}

/// How money moves.
type Transfer = fn(&Store, &Database, &str, &str, u64) -> orlop::Result<()>;

/// Takes in one commit and gives in another: the bug.
fn transfer_in_two_steps(
    _: &Store,
    accounts: &Database,
    from: &str,
    to: &str,
    amount: u64,
) -> orlop::Result<()> {
    accounts.put(from, (balance(accounts, from)? - amount).to_be_bytes())?;
    accounts.put(to, (balance(accounts, to)? + amount).to_be_bytes())
}

/// Takes and gives in one batch.
fn transfer(
    store: &Store,
    accounts: &Database,
    from: &str,
    to: &str,
    amount: u64,
) -> orlop::Result<()> {
    let mut batch = store.batch();
    batch.put(accounts, from, (balance(accounts, from)? - amount).to_be_bytes())?;
    batch.put(accounts, to, (balance(accounts, to)? + amount).to_be_bytes())?;
    batch.commit()
}

/// A day at the bank, each commit told to the history.
fn day(disk: &SimEnv, history: &History<Balances>, transfer: Transfer) -> orlop::Result<()> {
    let store = open(disk)?;
    let accounts = store.database("accounts")?;
    let mut balances = Balances::new();

    let mut opening = store.batch();
    for name in ACCOUNTS {
        opening.put(&accounts, name, 100_u64.to_be_bytes())?;
        balances.insert(name.into(), 100);
    }
    history.commit(balances.clone(), Durability::Synced, || opening.commit())?;

    for round in 0..30 {
        let (from, to) = (ACCOUNTS[round % 3], ACCOUNTS[(round + 1) % 3]);
        let amount = 1 + round as u64 % 7;
        *balances.entry(from.into()).or_default() -= amount;
        *balances.entry(to.into()).or_default() += amount;
        history.commit(balances.clone(), Durability::Synced, || {
            transfer(&store, &accounts, from, to, amount)
        })?;
        if round % 10 == 9 {
            store.flush()?;
        }
    }
    Ok(())
}

/// What a crash has left: some moment of the day, with all money there.
fn check(survivor: &Survivor<'_, Balances>) -> Result<(), String> {
    let read = || -> orlop::Result<Balances> {
        let accounts = open(survivor.disk())?.database("accounts")?;
        let mut balances = Balances::new();
        for entry in accounts.iter() {
            let name = entry?.0;
            let amount = balance(&accounts, &String::from_utf8_lossy(&name))?;
            balances.insert(name.to_vec(), amount);
        }
        Ok(balances)
    };
    let balances = read().map_err(|error| error.to_string())?;
    let sum: u64 = balances.values().sum();
    if !balances.is_empty() && sum != 300 {
        return Err(format!("there are {sum} coins, of 300"));
    }
    survivor.find(&balances).map(drop)
}

fn crash_test(transfer: Transfer) -> Result<Report, Box<Failure>> {
    let day = |disk: &SimEnv, history: &History<Balances>| day(disk, history, transfer);
    CrashTest::new().run(Balances::new(), day, check)
}

fn main() -> Result<(), Box<dyn Error>> {
    match crash_test(transfer_in_two_steps) {
        Ok(_) => return Err("the bug was not found".into()),
        Err(failure) => println!("In two steps: {failure}"),
    }
    let report = crash_test(transfer)?;
    println!(
        "In one batch: {} crashes, {} of them of recoveries, and every coin is there.",
        report.images, report.nested
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop::sim::Crash;

    #[test]
    fn the_planted_bug_is_found_and_its_crash_can_be_replayed() {
        let failure = crash_test(transfer_in_two_steps).expect_err("half a transfer is left");
        assert!(failure.what.contains("coins, of 300"), "{failure}");
        let crash: Crash = failure
            .crash
            .map(|crash| crash.to_string().parse())
            .expect("a crash")
            .expect("its text");
        let again = |transfer: Transfer| {
            let day = |disk: &SimEnv, history: &History<Balances>| day(disk, history, transfer);
            CrashTest::new().replay(&crash, Balances::new(), day, check)
        };
        assert_eq!(again(transfer_in_two_steps).expect_err("the same").what, failure.what);
    }

    #[test]
    fn one_batch_survives_every_crash() {
        let report = crash_test(transfer).expect("no crash takes a coin");
        assert!(report.images > 500 && report.nested > 100, "{report:?}");
    }
}
