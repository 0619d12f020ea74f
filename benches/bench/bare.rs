//! A bare actix handler that reads the body and answers 200: what all else is held against.

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::harness::TestResult;

pub fn serve(port: u16) -> TestResult {
    let cores = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        HttpServer::new(|| App::new().default_service(web::to(answer)))
            .workers(cores)
            .bind(("127.0.0.1", port))?
            .run()
            .await?;
        Ok(())
    })
}

async fn answer(body: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(format!("{{\"bytes\":{}}}", body.len()))
}
