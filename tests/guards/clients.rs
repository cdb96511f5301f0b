//! `listen.allow_clients`: who calls from elsewhere is closed out before a byte is read.

use super::only_event;
use crate::support::origin::TestOrigin;
use crate::support::proxy::TestProxy;

#[tokio::test]
async fn only_clients_of_the_networks_that_are_named_are_served() {
    let origin = TestOrigin::http().await;
    let refusing =
        TestProxy::new().with(|c| c.listen.allow_clients = vec!["192.0.2.0/24".parse().unwrap()]).run().await;
    assert!(refusing.client().get(origin.url("/")).send().await.is_err());
    assert_eq!(refusing.status().await["agents"]["refused_other_network"], 1);
    assert!(refusing.events().await.is_empty() && origin.accepted() == 0);
    let serving =
        TestProxy::new().with(|c| c.listen.allow_clients = vec!["127.0.0.0/8".parse().unwrap()]).run().await;
    assert_eq!(serving.client().get(origin.url("/status/200")).send().await.unwrap().status(), 200);
    only_event(serving).await;
}
