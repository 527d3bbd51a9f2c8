// What index.ts uses of Deno, so that tsc can check it without Deno. Not needed in a Supabase project.
declare const Deno: {
  env: { get(name: string): string | undefined }
  serve(handler: (request: Request) => Response | Promise<Response>): unknown
}
