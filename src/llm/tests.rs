//! Laws of the reader, on conversations of every API: facts do not depend on how a response is split and coded, and the
//! facts of a truncated response are right or absent.

use proptest::prelude::*;
use serde_json::Value;

use super::testing::{Conversation, as_json, conversation, conversations, ms};
use super::{Call, Fact, Facts, Reader, names};
use crate::codings::testing::named as coded;

fn whole(conversation: &Conversation) -> Option<Facts> {
    conversation.read("", std::iter::once(&conversation.answer[..]), true)
}

#[test]
fn every_conversation_has_its_facts() {
    for conversation in conversations() {
        let found = as_json(whole(&conversation));
        assert_eq!(found, conversation.facts, "{}: {found:#}", conversation.name);
    }
}

#[test]
fn calls_of_tools_have_the_ids_that_their_results_name() {
    for (name, ids) in [
        ("bedrock_converse_stream", &["t1"][..]),
        ("bedrock_converse", &["tooluse_1"]),
        ("cohere_v2_chat_tools", &["get_weather_1"]),
        ("anthropic_messages_stream_tools", &["toolu_1"]),
        ("openai_responses_stream", &["call_1"]),
    ] {
        assert_eq!(whole(&conversation(name)).unwrap().tool_ids, ids, "{name}");
    }
}

#[test]
fn a_request_for_no_answer_is_not_a_model_call() {
    let text = |generate: &str| {
        format!(
            "POST api.openai.com /v1/responses\ncontent-type: application/json\n\n\
             {{\"model\":\"gpt-x\",\"input\":[]{generate}}}\n=== 200\ncontent-type: application/json\n\n\
             {{\"object\":\"response\",\"status\":\"completed\",\"output\":[]}}\n=== facts\nnull"
        )
    };
    for (generate, is_one) in [("", true), (r#","generate":true"#, true), (r#","generate":false"#, false)] {
        assert_eq!(whole(&Conversation::parse("generate", &text(generate))).is_some(), is_one, "{generate}");
    }
}

#[test]
fn a_turn_of_realtime_has_its_facts() {
    let mut reader = Reader::new(Call::turn("api.openai.com", "/v1/realtime", "model=gpt-realtime-2"));
    reader.read_request(br#"{"type":"response.create","response":{"output_modalities":["audio"]}}"#);
    reader.end_request(true);
    reader.response_in_messages();
    for event in [
        r#"{"type":"response.created","response":{"object":"realtime.response","id":"resp_1","status":"in_progress","output":[]}}"#,
        r#"{"type":"response.output_audio_transcript.delta","output_index":0,"content_index":0,"delta":"It "}"#,
        r#"{"type":"response.output_audio_transcript.delta","output_index":0,"content_index":0,"delta":"rains."}"#,
        r#"{"type":"response.done","response":{"object":"realtime.response","id":"resp_1","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_audio","transcript":"It rains."}]}],"usage":{"total_tokens":253,"input_tokens":132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":13,"cached_tokens":64},"output_token_details":{"text_tokens":30,"audio_tokens":91}}}}"#,
    ] {
        reader.read_response(event.as_bytes(), None);
    }
    reader.end_response(true);
    let facts = reader.facts().unwrap();
    let of = |name: &str| facts.properties.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact.clone());
    for (name, value) in [
        (names::API, "openai.realtime"),
        (names::PROVIDER, "openai"),
        (names::REQUEST_MODEL, "gpt-realtime-2"),
        (names::RESPONSE_ID, "resp_1"),
        (names::FINISH_REASONS, "completed"),
    ] {
        assert_eq!(of(name), Some(Fact::Text(value.to_owned())), "{name}");
    }
    let counts = [names::INPUT_TOKENS, names::OUTPUT_TOKENS, names::CACHE_READ_TOKENS].map(of);
    assert_eq!(counts, [132, 121, 64].map(|count: u64| Some(Fact::from(count))));
    assert_eq!(facts.answer, "It rains.");
}

#[test]
fn an_answer_split_at_any_byte_has_the_same_facts() {
    for conversation in conversations() {
        let all = whole(&conversation);
        for at in 0..conversation.answer.len() {
            let (first, second) = conversation.answer.split_at(at);
            assert_eq!(
                conversation.read("", [first, second].into_iter(), true),
                all,
                "{} cut at {at}",
                conversation.name
            );
        }
        assert_eq!(conversation.read("", conversation.answer.chunks(1), true), all, "{}", conversation.name);
    }
}

#[test]
fn an_answer_in_any_coding_has_the_same_facts() {
    for conversation in conversations() {
        let all = whole(&conversation);
        for (coding, coded) in coded(&conversation.answer) {
            for piece in [1, usize::MAX] {
                let found = conversation.read(coding, coded.chunks(piece), true);
                assert_eq!(found, all, "{} in {coding}", conversation.name);
            }
        }
    }
}

#[test]
fn a_request_split_at_any_byte_has_the_same_facts() {
    for conversation in conversations() {
        let facts = |piece| conversation.after_request(piece).and_then(|reader| reader.facts());
        let all = facts(usize::MAX);
        (1..40).for_each(|piece| assert_eq!(facts(piece), all, "{} in pieces of {piece}", conversation.name));
    }
}

#[test]
fn a_truncated_request_has_only_right_facts() {
    for conversation in conversations() {
        let all = conversation.after_request(usize::MAX).and_then(|reader| reader.facts());
        for end in 0..conversation.question.len() {
            let Some(mut reader) = conversation.reader() else { continue };
            reader.read_request(&conversation.question[..end]);
            reader.end_request(false);
            is_right_or_absent(&conversation, reader.facts(), all.as_ref());
        }
    }
}

#[test]
fn an_answer_truncated_anywhere_has_only_right_facts() {
    for conversation in conversations() {
        let all = whole(&conversation);
        for end in 0..conversation.answer.len() {
            // Truncated by a fault, and ended by a server as if it were complete.
            for meant in [false, true] {
                let pieces = std::iter::once(&conversation.answer[..end]);
                is_right_or_absent(&conversation, conversation.read("", pieces, meant), all.as_ref());
            }
        }
        for (coding, coded) in coded(&conversation.answer).into_iter().skip(1) {
            for end in (0..coded.len()).step_by(23) {
                let found = conversation.read(coding, std::iter::once(&coded[..end]), false);
                is_right_or_absent(&conversation, found, all.as_ref());
            }
        }
    }
}

#[test]
fn an_agent_that_leaves_has_the_whole_answer_only_after_its_end() {
    for name in [
        "openai_chat_stream",
        "openai_responses_stream",
        "openai_responses_stream_incomplete",
        "anthropic_messages_stream_tools",
        "gemini_stream",
        "gemini_stream_array",
        "bedrock_converse_stream",
        "bedrock_invoke_stream",
        "cohere_v2_chat_stream",
        "ollama_chat_stream",
        "openai_chat",
        "mcp_tool_stream",
    ] {
        let conversation = conversation(name);
        let all = whole(&conversation);
        assert!(all.as_ref().is_some_and(|all| all.complete), "{name}");
        let mut ended = Vec::new();
        for end in 0..=conversation.answer.len() {
            let mut reader = conversation.after_request(usize::MAX).unwrap();
            conversation.begins(&mut reader, "");
            reader.read_response(&conversation.answer[..end], None);
            reader.end_response(false);
            if reader.ended_within(end as u64) {
                ended.push(end);
                assert_eq!(reader.facts(), all, "{name} left after {end}");
            } else {
                assert!(!reader.facts().is_some_and(|facts| facts.complete), "{name} left after {end}");
            }
            // Bytes that were not delivered do not count.
            assert!(!reader.ended_within(0), "{name}");
        }
        assert_eq!(ended.last(), Some(&conversation.answer.len()), "{name}");
    }
}

/// Asserts that facts of a part are also facts of the whole.
fn is_right_or_absent(conversation: &Conversation, part: Option<Facts>, all: Option<&Facts>) {
    let Some(part) = part else { return };
    let all = all.unwrap_or_else(|| panic!("{}: facts of a call that is not a model call", conversation.name));
    for (name, fact) in &part.properties {
        let whole = all.get(name);
        match (*name, fact, whole) {
            (names::PARSE_ERROR, ..) => {}
            // A list that continues.
            (names::TOOL_CALLS, Fact::Text(some), Some(Fact::Text(list))) => assert!(list.starts_with(some)),
            (names::TOOL_CALL_COUNT, Fact::Number(some), Some(Fact::Number(count))) => {
                assert!(some.as_u64() <= count.as_u64());
            }
            (_, fact, whole) => assert_eq!(Some(fact), whole, "{}: {name}", conversation.name),
        }
    }
    assert!(part.failure.is_none() || part.failure == all.failure, "{}", conversation.name);
    assert!(!part.complete || all.complete, "{}", conversation.name);
    // The partial answer is a subsequence of the whole one.
    let mut rest = all.answer.chars();
    assert!(
        part.answer.chars().all(|char| rest.any(|other| other == char)),
        "{}: {}",
        conversation.name,
        part.answer
    );
}

#[test]
fn no_wanted_member_hides_another() {
    for wanted in [
        super::request::WANTED,
        super::openai::WANTED,
        super::openai::WANTED_OF_EMBEDDINGS,
        super::responses::WANTED,
        super::anthropic::WANTED,
        super::cohere::WANTED,
        super::ollama::WANTED,
        super::gemini::WANTED,
        super::bedrock::WANTED,
        super::bedrock::WANTED_OF_CHUNK,
        super::bedrock::WANTED_OF_MODEL,
        super::mcp::WANTED,
    ] {
        for (path, _) in wanted {
            assert!(!wanted.iter().any(|(other, _)| super::sieve::leads_to(path, other)), "{path}");
        }
    }
}

#[test]
fn times_are_those_of_the_pieces() {
    let conversation = conversation("openai_chat_stream");
    let mut reader = conversation.after_request(usize::MAX).unwrap();
    conversation.begins(&mut reader, "");
    let events: Vec<&[u8]> = conversation.answer.split_inclusive(|byte| *byte == b'\n').collect();
    // Six pieces and the end. The second to the fourth have text.
    for (event, at) in events.chunks(2).zip([200, 300, 350, 800, 810, 820, 830]) {
        reader.read_response(&event.concat(), ms(at));
    }
    reader.end_response(true);
    let facts = reader.facts().unwrap();
    let seconds = |name| match facts.get(name) {
        Some(Fact::Number(number)) => number.as_f64().unwrap(),
        _ => panic!("no {name}"),
    };
    assert_eq!(facts.first_byte, ms(200));
    assert_eq!(seconds(names::TIME_TO_FIRST_CHUNK), 0.2);
    assert_eq!(seconds(names::TIME_TO_FIRST_TOKEN), 0.3);
    assert_eq!(seconds(names::LONGEST_GAP), 0.45);
    assert_eq!(seconds(names::TOKENS_PER_SECOND), 24.0);
}

#[test]
fn facts_are_there_before_the_end() {
    let conversation = conversation("anthropic_messages_stream_tools");
    let mut reader = conversation.after_request(usize::MAX).unwrap();
    conversation.begins(&mut reader, "");
    let end = conversation.answer.windows(8).position(|window| window == b"get_weat").unwrap() + 200;
    reader.read_response(&conversation.answer[..end], ms(10));
    let facts = as_json(reader.facts());
    assert_eq!(facts["properties"][names::RESPONSE_MODEL], "claude-sonnet-5-20260901");
    assert_eq!(facts["properties"][names::TOOL_CALLS], "get_weather");
    assert_eq!((&facts["properties"][names::INPUT_TOKENS], &facts["complete"]), (&Value::Null, &Value::Bool(false)));
    assert!(facts["answer"].as_str().unwrap().starts_with("[reasoning]\nA tool knows.\n\n[tool call] get_weather("));
    assert_eq!(facts["usage_raw"]["input_tokens"], 12);
}

#[test]
fn unreadable_answers_are_reported_and_have_no_tokens() {
    let conversation = conversation("openai_chat_stream");
    let error = |found: Option<Facts>| {
        let properties = as_json(found)["properties"].take();
        assert_eq!(properties[names::INPUT_TOKENS], Value::Null);
        properties[names::PARSE_ERROR].as_str().unwrap_or_default().to_owned()
    };
    let damaged = [&conversation.answer[..200], b"}}\n\ndata: {\"choices\":\n\n", &conversation.answer[..]].concat();
    assert_eq!(error(conversation.read("", std::iter::once(&damaged[..]), true)), "response_json");
    let mut gzip = coded(&conversation.answer).into_iter().find(|(coding, _)| *coding == "gzip").unwrap().1;
    let end = gzip.len() - 6;
    gzip[end] ^= 1;
    assert_eq!(error(conversation.read("gzip", std::iter::once(&gzip[..]), true)), "response_coding");
    let mut reader = conversation.after_request(usize::MAX).unwrap();
    conversation.begins(&mut reader, "");
    reader.read_response(&conversation.answer, None);
    reader.give_up(false, "overrun");
    assert_eq!(error(reader.facts()), "overrun");
    let mut reader = conversation.reader().unwrap();
    reader.read_request(b"{\"model\":\"m\"] ");
    reader.end_request(true);
    assert_eq!(error(reader.facts()), "request_json");
}

#[test]
fn a_request_of_any_size_is_read_and_a_long_answer_is_truncated_but_counted() {
    let conversation = conversation("openai_chat");
    let mut reader = conversation.reader().unwrap();
    reader.read_request(b"{\"messages\":[{\"content\":\"");
    (0..3_000).for_each(|_| reader.read_request(&[b'x'; 10_000]));
    reader.read_request(b"\"}],\"model\":\"m\"}");
    reader.end_request(true);
    conversation.begins(&mut reader, "");
    let words = "word ".repeat(50_000);
    let answer = String::from_utf8(conversation.answer.clone()).unwrap().replace("as ever", &words);
    reader.read_response(answer.as_bytes(), None);
    reader.end_response(true);
    let facts = reader.facts().unwrap();
    assert_eq!(facts.get(names::REQUEST_MODEL), Some(&Fact::Text("m".into())));
    assert_eq!(facts.get(names::INPUT_TOKENS), Some(&Fact::from(1200)));
    assert!(facts.answer.len() < 70_000 && facts.answer.ends_with(super::answer::CUT));
    let longer = answer.replace("word", &"word".repeat(20));
    let facts = conversation.read("", std::iter::once(longer.as_bytes()), true).unwrap();
    assert_eq!((facts.get(names::OUTPUT_TOKENS), &facts.skipped[..]), (Some(&Fact::from(80)), &["choices"][..]));
}

proptest! {
    #[test]
    fn damage_never_panics(which in any::<prop::sample::Index>(), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let conversations = conversations();
        let conversation = which.get(&conversations);
        let mut answer = conversation.answer.clone();
        for (place, byte) in places {
            if let Some(at) = (!answer.is_empty()).then(|| place.index(answer.len())) {
                answer[at] = byte;
            }
        }
        conversation.read("", answer.chunks(37), true);
        for (coding, mut coded) in coded(&conversation.answer).into_iter().skip(1) {
            let at = coded.len() / 2;
            coded[at] ^= 0x55;
            conversation.read(coding, coded.chunks(19), true);
        }
    }
}
