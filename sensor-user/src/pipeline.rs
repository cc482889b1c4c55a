//! One record going through every stage: decode, attribute, fold, ledger, verdict.
