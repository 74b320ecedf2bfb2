//! The audit log as CSV and JSON: read back by a library it is what was written, and no cell is a formula.
#![no_main]

use keyward::app::audit::{CSV_HEAD, csv_row, json_row};
use keyward_core::chain::Entry;
use keyward_core::id::AccountId;
use keyward_core::time::UnixMillis;
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let number = pieces.number().cast_signed();
    let mut text = || String::from_utf8_lossy(pieces.line()).into_owned();
    let entry = Entry {
        number,
        at: UnixMillis(number),
        account: Some(AccountId::from_bytes([7; 16])),
        actor: text(),
        name: text(),
        action: text(),
        target: text(),
        label: text(),
        details: text(),
        address: text(),
    };
    // A line may hold what ends a line: it is put back in here.
    let entry = Entry { name: entry.name.replace('|', "\n"), ..entry };
    let file = format!("{CSV_HEAD}{}", csv_row(&entry));
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let rows: Vec<csv::StringRecord> =
        reader.records().collect::<Result<_, _>>().expect("it is CSV");
    assert_eq!(rows.len(), 1);
    let texts = [
        &entry.actor,
        &entry.name,
        &entry.action,
        &entry.target,
        &entry.label,
        &entry.details,
        &entry.address,
    ];
    let cells: Vec<&str> = rows[0].iter().skip(3).collect();
    for (cell, text) in cells.iter().zip(texts) {
        assert!(cell == text || *cell == format!("'{text}"), "{cell:?} {text:?}");
        // What spreadsheets take for the beginning of a formula, with the wide forms of East Asia.
        let formula = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
        assert!(!cell.starts_with(formula), "{cell:?}");
    }
    let json = json_row(&entry);
    assert_eq!(json.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(value["name"], entry.name);
    assert_eq!(value["number"], number);
});
