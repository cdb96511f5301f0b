use super::*;

const TABLE: &str = r#"
    version = "t-1"
    currency = "EUR"
    [[models]]
    model = "big-*"
    provider = "acme"
    input = 2.0
    output = 10.0
    cache_read = 0.5
    cache_write = 2.5
    [[models]]
    model = "*"
    input = 1.0
    output = 1.0
"#;

fn prices(table: &str) -> Result<Prices, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.toml");
    std::fs::write(&file, table).unwrap();
    Prices::read(&file)
}

fn cost(model: &str, tokens: [Option<u64>; 4]) -> Option<f64> {
    let [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens] = tokens;
    let (model, provider, operation) = (Some(model), Some("acme"), None);
    let usage = Usage {
        model,
        provider,
        operation,
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_tokens,
        ..Usage::default()
    };
    prices(TABLE).unwrap().cost(&usage).map(|cost| cost.amount)
}

#[test]
fn each_kind_of_tokens_has_its_price_and_input_includes_cached_tokens() {
    assert_eq!(cost("big-1", [Some(1_000_000), Some(100_000), None, None]), Some(3.0));
    assert_eq!(cost("big-1", [Some(1_000), Some(0), Some(600), Some(400)]), Some(0.0013));
    assert_eq!(cost("other", [Some(3), Some(4), None, None]), Some(0.000_007));
}

#[test]
fn unknown_has_no_cost() {
    assert_eq!(cost("big-1", [None, Some(1), None, None]), None, "unknown input");
    assert_eq!(cost("big-1", [Some(1), None, None, None]), None, "unknown output");
    assert_eq!(cost("other", [Some(9), Some(1), Some(2), None]), None, "a kind without a price");
    assert_eq!(cost("big-1", [Some(1), Some(1), Some(2), None]), None, "more cached than input");
    let narrow = prices("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'x'\n").unwrap();
    assert_eq!(
        narrow.cost(&Usage { model: Some("y"), ..Usage::default() }),
        None,
        "a model that is not in the table"
    );
    assert_eq!(narrow.cost(&Usage { input_tokens: Some(5), ..Usage::default() }), None, "no model");
}

#[test]
fn an_embedding_needs_no_output() {
    let usage =
        Usage { operation: Some("embeddings"), model: Some("e"), input_tokens: Some(2_000_000), ..Usage::default() };
    assert_eq!(prices(TABLE).unwrap().cost(&usage).map(|cost| cost.amount), Some(2.0));
}

#[test]
fn errors_in_a_table_have_a_line() {
    for (table, word) in [
        ("version = 1\ncurrency = 'EUR'", "prices.toml:1: "),
        ("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm'\ninptu = 1.0", "prices.toml:5: "),
        ("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm'\ninput = -1.0", "below 0"),
    ] {
        let error = prices(table).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    assert!(Prices::read(Path::new("/nowhere/prices.toml")).unwrap_err().starts_with("cannot read"));
}

fn public(model: &'static str, provider: &'static str, tokens: [u64; 4]) -> Usage<'static> {
    let [input, output, read, written] = tokens.map(Some);
    Usage {
        model: Some(model),
        provider: Some(provider),
        day: Some("2026-11-29"),
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: written,
        ..Usage::default()
    }
}

#[test]
fn public_prices_give_known_costs() {
    let prices = Prices::public();
    let cost = |usage: &Usage<'_>| prices.cost(usage).map(|cost| (cost.amount, cost.currency.to_owned()));
    for (usage, amount) in [
        (public("claude-opus-5-5", "anthropic", [1_000_000, 100_000, 600_000, 300_000]), 0.4 + 2.0 + 0.12 + 1.5),
        (public("claude-sonnet-4-5-20250929", "anthropic", [100_000, 1_000, 0, 0]), 0.3 + 0.015),
        (public("claude-haiku-5-5", "anthropic", [100_000, 1_000, 0, 0]), 0.01 + 0.0005),
        (public("claude-haiku-5-5", "anthropic", [100_001, 1_000, 0, 0]), 0.050_000_5 + 0.0025),
        (public("gpt-6.2-sol", "openai", [200_000, 10_000, 100_000, 0]), 0.2 + 0.1 + 0.01),
        (public("gpt-6-sol", "openai", [200_000, 10_000, 100_000, 50_000]), 0.1 + 0.1 + 0.02 + 0.125),
        (public("gpt-6-luna", "openai", [300_000, 1_000, 0, 0]), 0.06 + 0.000_75),
        (public("gpt-6.1-terra", "openai", [1_000, 0, 0, 1_000]), 0.001_25),
        (public("gemini-3.1-pro-preview", "gcp.gemini", [100_000, 0, 100_000, 0]), 0.02),
        (public("gpt-5.5", "openai", [300_000, 1_000, 0, 0]), 3.0 + 0.045),
        (public("gpt-5-mini-2025-08-07", "openai", [1_000_000, 0, 0, 0]), 0.25),
        (public("gemini-2.5-pro", "gcp.gemini", [200_001, 1_000, 0, 0]), 0.500_002_5 + 0.015),
        (public("gemini-3.8-flash", "gcp.gemini", [1_000_000, 0, 0, 0]), 0.75),
    ] {
        let (found, currency) = cost(&usage).unwrap_or_else(|| panic!("{usage:?}"));
        assert!((found - amount).abs() < 1e-9 && currency == "USD", "{usage:?}: {found}, not {amount}");
    }
    let batch = |usage| Usage { tier: Some("batch"), ..usage };
    assert_eq!(cost(&batch(public("claude-opus-5", "anthropic", [10, 0, 4, 4]))).unwrap().0, 0.000_018_5);
    assert_eq!(cost(&batch(public("gpt-4.1", "openai", [1_000_000, 1_000_000, 0, 0]))).unwrap().0, 5.0);
}

#[test]
fn public_prices_leave_out_what_they_do_not_know() {
    let prices = Prices::public();
    for usage in [
        public("claude-opus-6", "anthropic", [1, 1, 0, 0]),
        public("claude-opus-5-7", "anthropic", [1, 1, 0, 0]),
        public("claude-opus-5", "aws.bedrock", [1, 1, 0, 0]),
        public("gpt-4o-2024-05-13", "openai", [1, 1, 0, 0]),
        public("gpt-4.1", "openai", [1, 1, 0, 1]),
        public("gpt-6-astra", "openai", [272_001, 1, 0, 0]),
        Usage { tier: Some("priority"), ..public("gpt-4.1", "openai", [1, 1, 0, 0]) },
        Usage { tier: Some("batch"), ..public("gpt-4.1", "openai", [2, 1, 1, 0]) },
        Usage { day: Some("2027-01-01"), ..public("gemini-3.8-flash", "gcp.gemini", [1, 1, 0, 0]) },
        Usage { provider: None, ..public("gpt-4.1", "openai", [1, 1, 0, 0]) },
    ] {
        assert_eq!(prices.cost(&usage), None, "{usage:?}");
    }
}

#[test]
fn public_tables_are_dated_and_sound() {
    let prices = Prices::public();
    let versions: Vec<&str> = prices.versions().collect();
    assert_eq!(versions.len(), PUBLIC.len());
    for version in versions {
        assert!(version.split_once(' ').is_some_and(|(_, day)| is_day(day)), "{version}");
    }
    for (text, table) in PUBLIC.iter().zip(prices.tables()) {
        assert!(text.contains("https://") && table.models.iter().all(Model::is_sound));
        for (at, model) in table.models.iter().enumerate() {
            assert!(model.provider.is_some(), "{}: whose price?", model.model);
            let covers = |before: &&Model| {
                (&before.model, &before.tiers, before.above_input_tokens)
                    == (&model.model, &model.tiers, model.above_input_tokens)
            };
            assert!(!table.models[..at].iter().any(|before| covers(&before)), "{}: twice", model.model);
            // A long call must not meet the entry for short ones first.
            let shadows = |before: &Model| before.model == model.model && before.tiers == model.tiers;
            assert!(model.above_input_tokens.is_none() || !table.models[..at].iter().any(shadows), "{}", model.model);
        }
    }
}

#[test]
fn an_entry_of_the_user_replaces_the_public_one() {
    let table = "version = 'ours'\ncurrency = 'EUR'\n[[models]]\nmodel = 'gpt-4.1'\ninput = 1.0\noutput = 1.0\n\
                 [[models]]\nmodel = 'gpt-4.1-mini'\n";
    let prices = prices(table).unwrap();
    let cost = |model| prices.cost(&public(model, "openai", [1_000_000, 0, 0, 0]));
    assert_eq!(cost("gpt-4.1"), Some(Cost { amount: 1.0, currency: "EUR", table: "ours" }));
    assert_eq!(cost("gpt-4.1-mini"), None, "an entry without prices means: not known");
    assert_eq!(cost("gpt-4.1-nano"), Some(Cost { amount: 0.1, currency: "USD", table: "openai 2026-11-29" }));
    let batch = Usage { tier: Some("batch"), ..public("gpt-4.1", "openai", [1_000_000, 0, 0, 0]) };
    assert_eq!(prices.cost(&batch).unwrap().amount, 1.0, "the public price of another tier");
}
