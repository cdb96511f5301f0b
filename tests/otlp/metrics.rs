//! Metrics of model calls, beside the spans.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use otas_proxy::config::{Only, Spans};

use super::coder::{self, MODEL, says, user};
use crate::support::collector::TestCollector;

#[tokio::test]
async fn model_calls_are_measured_if_the_settings_ask_for_it() {
    for is_wanted in [true, false] {
        let collector = TestCollector::start().await;
        let spans = Spans { only: Only::Llm, content: None, compat: true, metrics: is_wanted };
        let proxy = coder::proxy(&collector.url(), spans).await;
        for _ in 0..3 {
            coder::call(&proxy, None, &[user("Hello.")], Some(&[says("Hello to you.")])).await;
        }
        coder::call(&proxy, None, &[user("Hello.")], None).await;
        proxy.stop().await;
        let requests = collector.metrics();
        assert_eq!(requests.len(), usize::from(is_wanted), "they are sent when the proxy stops");
        let Some(request) = requests.last() else { continue };
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let figures: BTreeMap<&str, u64> = metrics
            .iter()
            .map(|metric| {
                let figure = match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => match sum.data_points[0].value {
                        Some(Number::AsInt(count)) => u64::try_from(count).unwrap(),
                        other => panic!("{other:?}"),
                    },
                    Data::Histogram(histogram) => histogram.data_points.iter().map(|point| point.count).sum(),
                    other => panic!("{other:?}"),
                };
                (metric.name.as_str(), figure)
            })
            .collect();
        let expected = [
            ("gen_ai.client.inference.duration", 4),
            ("gen_ai.client.inference.operation.input_tokens", 3),
            ("gen_ai.client.inference.operation.output_tokens", 3),
            ("gen_ai.client.inference.usage.cache_read.input_tokens", 2_700),
            ("gen_ai.client.inference.usage.cache_write.input_tokens", 150),
            ("gen_ai.client.inference.usage.input_tokens", 3_150),
            ("gen_ai.client.inference.usage.output_tokens", 60),
            ("gen_ai.client.operation.duration", 4),
            ("gen_ai.client.token.usage", 6),
        ];
        assert_eq!(figures, BTreeMap::from(expected));
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!() };
        let names: Vec<&str> = sum.data_points[0].attributes.iter().map(|pair| pair.key.as_str()).collect();
        let expected = [
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.request.model",
            "gen_ai.response.model",
            "server.address",
            "gen_ai.token.modality",
        ];
        assert_eq!((names, MODEL), (expected.to_vec(), "claude-sonnet-4-5"));
    }
}
