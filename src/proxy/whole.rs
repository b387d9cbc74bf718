//! The gate as a proxy of its own.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    Error, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{Gate, GateCtx, Outcome, client};

/// The gate as a whole proxy: one line a hook.
pub struct GateProxy(pub Gate);

#[async_trait]
impl ProxyHttp for GateProxy {
    type CTX = GateCtx;

    fn new_ctx(&self) -> GateCtx {
        GateCtx::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<bool> {
        Ok(self.0.request_filter(session, ctx).await? == Outcome::Answered)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut GateCtx) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.0.upstream_request_filter(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.0.request_body_filter(session, body, end, ctx).await
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.0.upstream_response_filter(session, response, ctx).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut GateCtx,
    ) -> Result<()> {
        client::frame(session, response);
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut GateCtx) -> FailToProxy {
        self.0.fail_to_proxy(session, error, ctx).await
    }

    fn suppress_error_log(&self, _: &Session, ctx: &GateCtx, _: &Error) -> bool {
        self.0.suppress_error_log(ctx)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut GateCtx) {
        self.0.logging(session, error, ctx).await;
    }
}
