// Runs examples/edge_function under Node: stands for Deno.env and Deno.serve, and prints the port.
import { createServer } from 'node:http'

type Handler = (request: Request) => Response | Promise<Response>

function serve(handler: Handler) {
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', async () => {
      const body = incoming.method === 'GET' || incoming.method === 'HEAD' ? null : Buffer.concat(chunks)
      const request = new Request(`http://edge.test${incoming.url}`, {
        method: incoming.method ?? 'GET', headers: incoming.headers as Record<string, string>, body,
      })
      const answer = await handler(request)
      outgoing.writeHead(answer.status, Object.fromEntries(answer.headers)).end(Buffer.from(await answer.arrayBuffer()))
    })
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    console.log(typeof address === 'object' ? address?.port : address)
  })
}

Object.assign(globalThis, { Deno: { env: { get: (name: string) => process.env[name] }, serve } })
await import('./edge_function/index.js')
