//! Recognises calls to models and tools by their request heads: a cheap check of the method, the path, the host and a
//! few fields. `certain` says whether the bodies must still confirm it.

/// An API: the format of its requests and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's Chat Completions (and the older text completions), and compatible servers.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// OpenAI's Realtime, on a WebSocket.
    OpenAiRealtime,
    /// OpenAI's Embeddings, and compatible servers.
    OpenAiEmbeddings,
    /// Anthropic's Messages.
    AnthropicMessages,
    /// Google's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// Bedrock's Converse and ConverseStream.
    BedrockConverse,
    /// Bedrock's InvokeModel: the model's own format, and Amazon's framing around a stream of it.
    BedrockInvoke,
    /// Cohere's chat.
    CohereChat,
    /// Ollama's chat and generate.
    Ollama,
    /// The Model Context Protocol over HTTP.
    Mcp,
}

impl Api {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai.chat",
            Self::OpenAiResponses => "openai.responses",
            Self::OpenAiRealtime => "openai.realtime",
            Self::OpenAiEmbeddings => "openai.embeddings",
            Self::AnthropicMessages => "anthropic.messages",
            Self::Gemini => "gemini",
            Self::BedrockConverse => "bedrock.converse",
            Self::BedrockInvoke => "bedrock.invoke",
            Self::CohereChat => "cohere.chat",
            Self::Ollama => "ollama",
            Self::Mcp => "mcp",
        }
    }

    /// The operation of a call, in OpenTelemetry's terms. `None` for MCP, whose method decides.
    pub(super) fn operation(self) -> Option<&'static str> {
        match self {
            Self::OpenAiChat
            | Self::OpenAiResponses
            | Self::OpenAiRealtime
            | Self::AnthropicMessages
            | Self::BedrockConverse
            | Self::BedrockInvoke
            | Self::CohereChat
            | Self::Ollama => Some("chat"),
            Self::OpenAiEmbeddings => Some("embeddings"),
            Self::Gemini => Some("generate_content"),
            Self::Mcp => None,
        }
    }
}

/// The operation of fetching a stored response.
pub(super) const FETCH: &str = "fetch_response";

/// A recognised call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The API. `None`: the request body decides.
    pub(super) api: Option<Api>,
    /// The provider.
    pub(super) provider: Option<&'static str>,
    /// The operation, if the path is more specific than the API.
    pub(super) operation: Option<&'static str>,
    /// The model in the path.
    pub(super) model: Option<String>,
    /// Whether a streamed answer is requested, if the path says so.
    pub(super) stream: Option<bool>,
    /// Whether the head alone is proof. Otherwise the bodies must confirm that it is a model call.
    pub(super) certain: bool,
    /// The host that is called.
    pub(super) host: String,
    /// The request fields that matter, with their values.
    fields: Vec<(&'static str, String)>,
}

/// The request fields that matter.
const FIELDS: [&str; 6] =
    ["anthropic-version", "content-encoding", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"];
/// The longest value of such a field.
const FIELD_MAX_BYTES: usize = 256;

/// A request head.
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The host, in lower case.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// A header field's first value by its name in lower case.
    pub field: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

impl Call {
    /// Recognises a call to a model or a tool. `None`: it is certainly not one.
    pub fn of(head: &Head<'_>) -> Option<Self> {
        let mut call = Self::by_head(head)?;
        head.host.clone_into(&mut call.host);
        for name in FIELDS {
            let value = (head.field)(name).and_then(|value| std::str::from_utf8(value).ok());
            let value = value.filter(|value| value.len() <= FIELD_MAX_BYTES);
            call.fields.extend(value.map(|value| (name, value.to_owned())));
        }
        Some(call)
    }

    /// The value of a request field.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    fn new(api: Option<Api>, provider: Option<&'static str>, certain: bool) -> Self {
        let (host, fields) = (String::new(), Vec::new());
        Self { api, provider, operation: None, model: None, stream: None, certain, host, fields }
    }

    fn by_head(head: &Head<'_>) -> Option<Self> {
        match head.method {
            "POST" => {}
            "GET" => return Self::fetching(head),
            _ => return None,
        }
        // Uploads may have such paths, too, and any size.
        if (head.field)("content-type").is_some_and(|kind| !may_be_json(kind)) {
            return None;
        }
        let path = head.path.trim_end_matches('/');
        Self::by_path(head, path).or_else(|| Self::by_model_in_path(head, path)).or_else(|| Self::perhaps(head, path))
    }

    /// By the end of the path, because gateways add prefixes.
    fn by_path(head: &Head<'_>, path: &str) -> Option<Self> {
        let (_, api, operation) = PATHS.iter().find(|(end, ..)| path.ends_with(end))?;
        // The answer of a batch job comes elsewhere.
        if path.split('/').any(|part| JOBS.contains(&part)) {
            return None;
        }
        let provider = provider(head.host);
        let certain = is_known(head.host) && speaks(provider, *api, path);
        Some(Self { operation: *operation, ..Self::new(Some(*api), provider, certain) })
    }

    /// A turn on a WebSocket to this host: of OpenAI's Realtime by the path, or else of its Responses. In Realtime the query names
    /// the model.
    pub fn turn(host: &str, path: &str, query: &str) -> Self {
        let is_realtime = path.trim_end_matches('/').ends_with("/realtime");
        let api = if is_realtime { Api::OpenAiRealtime } else { Api::OpenAiResponses };
        let of_query = |name: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
            found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        // Azure names the deployment.
        let model = if is_realtime { of_query("model").or_else(|| of_query("deployment")) } else { None };
        Self { stream: Some(true), host: host.to_owned(), model, ..Self::new(Some(api), provider(host), true) }
    }

    /// Fetching a stored response. Its tokens were counted when it was made.
    fn fetching(head: &Head<'_>) -> Option<Self> {
        let (before, id) = head.path.rsplit_once('/')?;
        let call = || Self::new(Some(Api::OpenAiResponses), provider(head.host), is_known(head.host));
        (before.ends_with("/responses") && id.starts_with("resp_")).then(|| Self { operation: Some(FETCH), ..call() })
    }

    /// Google and Amazon have the model in the path: `…/models/MODEL:generateContent`, `/model/MODEL/converse`. Others
    /// have such paths, too, so only the host or the signature proves the provider.
    fn by_model_in_path(head: &Head<'_>, path: &str) -> Option<Self> {
        let last = path.rsplit('/').next().unwrap_or_default();
        let call = |api, model: &str, stream, provider: Option<&'static str>| {
            let model = percent_encoding::percent_decode_str(model).decode_utf8_lossy().into_owned();
            let model = Some(model).filter(|model| !model.is_empty());
            Some(Self { model, stream: Some(stream), ..Self::new(Some(api), provider, provider.is_some()) })
        };
        if let Some((model, verb)) = last.split_once(':') {
            let google = provider(head.host).or(head.host.ends_with(".googleapis.com").then_some("gcp.gen_ai"));
            let model = if model == "v1internal" { "" } else { model };
            let anthropic = path.contains("/publishers/anthropic/") && model != "count-tokens";
            return match verb {
                "generateContent" => call(Api::Gemini, model, false, google),
                "streamGenerateContent" => call(Api::Gemini, model, true, google),
                "rawPredict" if anthropic => call(Api::AnthropicMessages, model, false, google),
                "streamRawPredict" if anthropic => call(Api::AnthropicMessages, model, true, google),
                _ => None,
            };
        }
        let model = path.strip_prefix("/model/")?.strip_suffix(last)?.strip_suffix('/')?;
        let signed = (head.field)("authorization").is_some_and(is_signed_for_bedrock);
        let amazon = provider(head.host).or(signed.then_some("aws.bedrock"));
        match last {
            "converse" => call(Api::BedrockConverse, model, false, amazon),
            "converse-stream" => call(Api::BedrockConverse, model, true, amazon),
            "invoke" => call(Api::BedrockInvoke, model, false, amazon),
            "invoke-with-response-stream" => call(Api::BedrockInvoke, model, true, amazon),
            _ => None,
        }
    }

    /// An unknown path that takes JSON. The bodies must confirm that it is a model call.
    fn perhaps(head: &Head<'_>, path: &str) -> Option<Self> {
        let other = path.split(['/', ':']).any(|part| OTHERS.contains(&part) || JOBS.contains(&part));
        let may_be = (head.field)("content-type").is_some_and(is_json);
        (may_be && !other).then(|| Self::new(None, provider(head.host), false))
    }
}

/// Path suffixes that identify an API, and the operation if it is not the API's usual one.
const PATHS: [(&str, Api, Option<&str>); 9] = [
    ("/chat/completions", Api::OpenAiChat, None),
    ("/completions", Api::OpenAiChat, Some("text_completion")),
    ("/responses", Api::OpenAiResponses, None),
    ("/embeddings", Api::OpenAiEmbeddings, None),
    ("/messages", Api::AnthropicMessages, None),
    ("/v1/chat", Api::CohereChat, None),
    ("/v2/chat", Api::CohereChat, None),
    ("/api/chat", Api::Ollama, None),
    ("/api/generate", Api::Ollama, Some("text_completion")),
];

/// Path segments of calls that look like model calls but are not: they count tokens, classify, rank, or manage jobs.
const OTHERS: [&str; 27] = [
    "audio",
    "classify",
    "compact",
    "count_tokens",
    "count-tokens",
    "detokenize",
    "embed",
    "evals",
    "files",
    "fine-tuning",
    "fine-tunes",
    "fine_tuning",
    "images",
    "input_items",
    "input_tokens",
    "moderations",
    "realtime",
    "rerank",
    "score",
    "search",
    "speech",
    "tokenize",
    "transcriptions",
    "translations",
    "uploads",
    "vector_stores",
    "videos",
];

/// Path segments of batch jobs, which take the same requests.
const JOBS: [&str; 3] = ["async", "batch", "batches"];

/// Whether this provider has this API at this path, so that it cannot be anything else.
fn speaks(provider: Option<&str>, api: Api, path: &str) -> bool {
    match (provider, api) {
        (Some("anthropic"), Api::AnthropicMessages) => path.ends_with("/v1/messages"),
        (_, Api::AnthropicMessages) => path.ends_with("/anthropic/v1/messages") || path == "/anthropic/messages",
        (Some("cohere"), Api::CohereChat) => true,
        (_, Api::CohereChat | Api::Ollama) => false,
        (_, Api::OpenAiResponses) => {
            ["/v1/responses", "/openai/responses", "/codex/responses"].iter().any(|end| path.ends_with(end))
        }
        _ => true,
    }
}

/// Whether the request is signed for Bedrock (`AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/bedrock/aws4_request, …`).
fn is_signed_for_bedrock(authorization: &[u8]) -> bool {
    authorization.starts_with(b"AWS4-HMAC-SHA256 ")
        && memchr::memmem::find(authorization, b"/bedrock/aws4_request").is_some()
}

fn is_json(content_type: &[u8]) -> bool {
    memchr::memmem::find(&content_type.to_ascii_lowercase(), b"json").is_some()
}

/// Whether a body of this type may be JSON. `curl -d` calls all that it sends a form, and Ollama's examples use it.
fn may_be_json(content_type: &[u8]) -> bool {
    let begins = |kind: &[u8]| content_type.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind));
    is_json(content_type) || begins(b"application/x-www-form-urlencoded") || begins(b"text/plain")
}

/// Hosts and their providers. A name that begins with `.` or `-` is a suffix.
const PROVIDERS: [(&str, &str); 21] = [
    ("api.openai.com", "openai"),
    ("chatgpt.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".models.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
    (".amazonaws.com.cn", "aws.bedrock"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.x.ai", "x_ai"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("api.perplexity.ai", "perplexity"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
];

fn provider(host: &str) -> Option<&'static str> {
    let is = |name: &str| host == name || (name.starts_with(['.', '-']) && host.ends_with(name));
    let (_, provider) = PROVIDERS.iter().find(|(name, _)| is(name))?;
    // Amazon has other services under these names. A private endpoint puts its name before the service.
    (*provider != "aws.bedrock" || host.split('.').any(|label| label.starts_with("bedrock-runtime")))
        .then_some(*provider)
}

/// Whether the host serves only models at these paths. `chatgpt.com` is also a web application.
fn is_known(host: &str) -> bool {
    host != "chatgpt.com" && provider(host).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Option<Call> {
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
        Call::of(&Head { method, host, path, field: &field })
    }

    #[test]
    fn paths_identify_the_api_and_hosts_the_provider() {
        for (host, path, api, provider, certain) in [
            ("api.openai.com", "/v1/chat/completions", Api::OpenAiChat, Some("openai"), true),
            ("localhost", "/api/v1/chat/completions", Api::OpenAiChat, None, false),
            ("api.openai.com", "/v1/responses", Api::OpenAiResponses, Some("openai"), true),
            (
                "x.openai.azure.com",
                "/openai/deployments/d/embeddings",
                Api::OpenAiEmbeddings,
                Some("azure.ai.openai"),
                true,
            ),
            ("api.anthropic.com", "/v1/messages", Api::AnthropicMessages, Some("anthropic"), true),
            (
                "bedrock-runtime.eu-west-1.amazonaws.com",
                "/model/m/converse",
                Api::BedrockConverse,
                Some("aws.bedrock"),
                true,
            ),
            ("s3.amazonaws.com", "/bucket/messages", Api::AnthropicMessages, None, false),
            ("api.openai.com", "/v1/threads/t/messages", Api::AnthropicMessages, Some("openai"), false),
            ("api.anthropic.com", "/api/messages", Api::AnthropicMessages, Some("anthropic"), false),
            ("api.cohere.com", "/v2/chat", Api::CohereChat, Some("cohere"), true),
            ("localhost", "/api/chat", Api::Ollama, None, false),
        ] {
            let call = of("POST", host, path, &[]).unwrap();
            assert_eq!((call.api, call.provider, call.certain), (Some(api), provider, certain), "{host}{path}");
        }
    }

    #[test]
    fn paths_may_name_the_model() {
        let model = |host, path| {
            of("POST", host, path, &[]).map(|call| (call.model.unwrap_or_default(), call.stream, call.provider))
        };
        let google = "generativelanguage.googleapis.com";
        assert_eq!(
            model(google, "/v1beta/models/gemini-x:generateContent"),
            Some(("gemini-x".into(), Some(false), Some("gcp.gemini")))
        );
        assert_eq!(
            model(
                "eu-aiplatform.googleapis.com",
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-y:streamRawPredict"
            ),
            Some(("claude-y".into(), Some(true), Some("gcp.vertex_ai")))
        );
        assert_eq!(model(google, "/v1beta/models/gemini-x:countTokens"), None);
        let private = "vpce-0a-b.bedrock-runtime.eu-west-1.vpce.amazonaws.com";
        let arn = "/model/arn%3Aaws%3Abedrock%3A%3A1%3Ainference-profile%2Feu.x/converse-stream";
        assert_eq!(
            model(private, arn),
            Some(("arn:aws:bedrock::1:inference-profile/eu.x".into(), Some(true), Some("aws.bedrock")))
        );
        let assistant = model("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent");
        assert_eq!(assistant, Some((String::new(), Some(true), Some("gcp.gen_ai"))));
    }

    #[test]
    fn at_other_hosts_a_signature_proves_the_provider_and_a_path_does_not() {
        let signature =
            "AWS4-HMAC-SHA256 Credential=AKIA/20261129/eu-west-1/bedrock/aws4_request, SignedHeaders=host";
        for (path, fields, provider) in [
            ("/model/churn/invoke", &[][..], None),
            ("/model/churn/invoke", &[("authorization", signature)], Some("aws.bedrock")),
            ("/model/churn/invoke", &[("authorization", "Bearer bedrock/aws4_request")], None),
            ("/models/m:generateContent", &[], None),
        ] {
            let call = of("POST", "app.test", path, fields).unwrap();
            assert_eq!((call.provider, call.certain), (provider, provider.is_some()), "{path}");
        }
    }

    #[test]
    fn calls_that_only_look_like_model_calls_are_not_read() {
        let fields =
            [("content-type", "application/json"), ("x-stainless-lang", "python"), ("anthropic-version", "1")];
        for path in [
            "/v1/messages/count_tokens",
            "/v1/moderations",
            "/v1/audio/speech",
            "/v1/responses/input_tokens",
            "/v1/evals/e/runs",
            "/v1/fine_tuning/jobs",
            "/v2/rerank",
            "/v1/messages/batches",
            "/async/chat/completions",
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
        ] {
            assert_eq!(of("POST", "gateway.test", path, &fields), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_a_known_api_is_read_whatever_the_type_says_but_uploads_are_not() {
        for (kind, read) in [
            ("application/x-www-form-urlencoded", true),
            ("text/plain;charset=UTF-8", true),
            ("application/json", true),
            ("application/octet-stream", false),
            ("multipart/form-data; boundary=x", false),
        ] {
            let call = of("POST", "localhost", "/api/chat", &[("content-type", kind)]);
            assert_eq!(call.is_some(), read, "{kind}");
        }
    }

    #[test]
    fn a_turn_on_a_websocket_is_of_realtime_by_its_path() {
        let turn = |path, query| {
            let call = Call::turn("api.openai.com", path, query);
            (call.api.map(Api::name), call.provider, call.model)
        };
        let openai = Some("openai");
        let realtime = Some("openai.realtime");
        assert_eq!(
            turn("/v1/realtime", "model=gpt-realtime-2"),
            (realtime, openai, Some("gpt-realtime-2".to_owned()))
        );
        assert_eq!(turn("/openai/realtime", "deployment=mine&x=1"), (realtime, openai, Some("mine".to_owned())));
        assert_eq!(turn("/v1/responses", "model=x"), (Some("openai.responses"), openai, None));
    }

    #[test]
    fn other_calls_are_not_read_unless_they_send_json() {
        assert_eq!(of("GET", "api.openai.com", "/v1/models", &[]), None);
        assert_eq!(
            of("GET", "api.openai.com", "/v1/responses/resp_1", &[]).unwrap().operation,
            Some("fetch_response")
        );
        assert_eq!(of("PUT", "api.openai.com", "/v1/chat/completions", &[]), None);
        assert_eq!(of("POST", "a.test", "/login", &[("content-type", "application/x-www-form-urlencoded")]), None);
        let call = of("POST", "a.test", "/any/path", &[("content-type", "application/json")]).unwrap();
        assert_eq!((call.api, call.certain), (None, false));
        assert_eq!(
            of("POST", "a.test", "/api/messages", &[("content-type", "multipart/form-data; boundary=x")]),
            None
        );
        let mcp = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let call = of("POST", "a.test", "/mcp", &mcp).unwrap();
        assert_eq!((call.api, call.certain), (None, false));
        assert_eq!(of("POST", "a.test", "/v1/messages/count_tokens", &[]), None);
    }
}
