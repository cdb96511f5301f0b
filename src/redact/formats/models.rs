//! Tokens of models, and of what agents are built from and watched with.

use super::IN_USE;
use crate::redact::patterns::{Pattern, Shape, at_least, exactly, format};
use crate::redact::runs::Class::{Alnum, Dotted, Hex, Token68, Word};

pub(super) const FORMATS: &[Pattern] = &[
    format("pattern.anthropic", "Anthropic", "sk-ant-", at_least(Word, 16), "gitleaks: anthropic-api-key"),
    format("pattern.openai", "OpenAI", "sk-", Shape::Mixed(16), "gitleaks: openai-api-key"),
    format("pattern.openai", "OpenAI", "sess-", at_least(Alnum, 32), IN_USE),
    format(
        "pattern.openrouter",
        "OpenRouter",
        "sk-or-v1-",
        at_least(Alnum, 32),
        "https://nango.dev/docs/api-integrations/openrouter/connect",
    ),
    format(
        "pattern.langfuse",
        "Langfuse",
        "sk-lf-",
        at_least(Word, 30),
        "https://langfuse.com/faq/all/lost-secret-key",
    ),
    format("pattern.huggingface", "Hugging Face", "hf_", at_least(Alnum, 20), "gitleaks: huggingface-access-token"),
    format(
        "pattern.huggingface",
        "Hugging Face",
        "api_org_",
        exactly(Alnum, 34),
        "gitleaks: huggingface-organization-api-token",
    ),
    format("pattern.groq", "Groq", "gsk_", at_least(Alnum, 20), "kingfisher: groq.1"),
    format("pattern.perplexity", "Perplexity", "pplx-", at_least(Alnum, 20), "gitleaks: perplexity-api-key"),
    format("pattern.xai", "xAI", "xai-", at_least(Alnum, 20), "kingfisher: xai.1"),
    format("pattern.replicate", "Replicate", "r8_", at_least(Alnum, 30), "kingfisher: replicate.1"),
    format(
        "pattern.tavily",
        "Tavily",
        "tvly-",
        at_least(Word, 16),
        "https://docs.tavily.com/api-reference/introduction",
    ),
    format("pattern.langsmith", "LangSmith", "lsv2_", at_least(Word, 30), IN_USE),
    format("pattern.nvidia", "NVIDIA", "nvapi-", at_least(Word, 30), "kingfisher: nvapi.1"),
    format("pattern.elevenlabs", "ElevenLabs", "sk_", exactly(Hex, 48), "kingfisher: elevenlabs.1"),
    format("pattern.voiceflow", "Voiceflow", "VF.DM.", exactly(Dotted, 41), "kingfisher: voiceflow.1"),
    format("pattern.voiceflow", "Voiceflow", "VF.WS.", exactly(Dotted, 41), "kingfisher: voiceflow.1"),
    format(
        "pattern.bedrock",
        "Amazon Bedrock",
        "ABSK",
        at_least(Token68, 100),
        "gitleaks: aws-amazon-bedrock-api-key-long-lived",
    ),
    format(
        "pattern.bedrock",
        "Amazon Bedrock",
        "bedrock-api-key-",
        at_least(Token68, 40),
        "gitleaks: aws-amazon-bedrock-api-key-short-lived",
    ),
    format("pattern.otas", "OTAS", "agent_", Shape::AgentKey, IN_USE),
];
