// The dashboard in a real browser: every page that scripts/test_browser.sh made, in both colour schemes and three widths.
// Usage: node test.mjs FOLDER BROWSER   FOLDER holds <name>.html with <name>.headers, and gets the pictures.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import process from 'node:process'

const [folder, executablePath] = process.argv.slice(2)
// The packages lie where they were installed, not beside this file.
const installed = createRequire(join(process.cwd(), 'package.json'))
const { chromium } = installed('playwright-core')
const axe = readFileSync(installed.resolve('axe-core/axe.min.js'), 'utf8')

const WIDTHS = [360, 768, 1280]
const SCHEMES = ['light', 'dark']
const HEIGHT = 900

// As PostgREST would: the content type by the domain's name, the headers that the function set.
const names = readdirSync(folder).filter(name => name.endsWith('.html')).map(name => name.slice(0, -5))
const pages = new Map(names.map(name => [`/${name}`, {
  body: readFileSync(join(folder, `${name}.html`)),
  headers: JSON.parse(readFileSync(join(folder, `${name}.headers`), 'utf8')),
}]))
const asked = []
const server = createServer((request, response) => {
  asked.push(request.url)
  const page = pages.get(request.url)
  if (!page) return response.writeHead(404).end()
  for (const header of page.headers) for (const [name, value] of Object.entries(header)) response.setHeader(name, value)
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page.body)
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

let passed = 0
let failed = 0
const check = (what, problems) => {
  const list = Array.isArray(problems) ? problems : [problems]
  if (list.length === 0) { passed += 1; return }
  failed += 1
  console.log(`not ok  ${what}`)
  for (const problem of list) console.log(`        ${typeof problem === 'string' ? problem : JSON.stringify(problem)}`)
}

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
})

// Asked of the browser about the page: each answers with what is wrong.
const wide = () => {
  const page = document.scrollingElement
  if (page.scrollWidth <= window.innerWidth) return []
  // Who sticks out, but for what scrolls in a box of its own.
  return [...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll'))
    .filter(element => element.getBoundingClientRect().right > window.innerWidth + 1)
    .map(element => `${element.tagName} ${element.className} reaches ${element.getBoundingClientRect().right} of ${window.innerWidth}`)
    .concat(`the page is ${page.scrollWidth} wide in ${window.innerWidth}`)
}
const foreign = () => [...document.querySelectorAll('script, img, iframe, object, embed, form, [onerror], [onclick], [onload], [src]')]
  .map(element => element.outerHTML.slice(0, 100))
const unreachable = () => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth && box.tabIndex < 0)
  .map(box => box.getAttribute('aria-label'))
const titles = () => [...document.querySelectorAll('h1, h2')].map(heading => heading.textContent)

for (const colorScheme of SCHEMES) {
  // Its own policy forbids all scripts, axe's too.
  const context = await browser.newContext({ colorScheme, bypassCSP: true, reducedMotion: 'reduce' })
  for (const name of names) {
    const page = await context.newPage()
    const told = []
    page.on('console', message => told.push(`console: ${message.text()}`))
    page.on('pageerror', error => told.push(`error: ${error.message}`))
    page.on('request', request => { if (request.url() !== `${origin}/${name}`) told.push(`request: ${request.url()}`) })
    page.on('dialog', dialog => { told.push(`dialog: ${dialog.message()}`); dialog.dismiss() })
    asked.length = 0
    await page.setViewportSize({ width: WIDTHS[0], height: HEIGHT })
    const answer = await page.goto(`${origin}/${name}`, { waitUntil: 'load' })
    check(`${name} ${colorScheme}: sent as it should be`, answer.headers()['cache-control'] === 'no-store' ? [] : ['no Cache-Control'])
    check(`${name} ${colorScheme}: nothing foreign on it`, await page.evaluate(foreign))
    check(`${name} ${colorScheme}: it has its sections`, (await page.evaluate(titles)).length >= 9 ? [] : await page.evaluate(titles))
    const scheme = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    check(`${name} ${colorScheme}: in its colours`, (scheme === 'rgb(13, 18, 32)') === (colorScheme === 'dark') ? [] : [scheme])
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: HEIGHT })
      check(`${name} ${colorScheme} ${width}: no wider than the window`, await page.evaluate(wide))
      check(`${name} ${colorScheme} ${width}: what scrolls is in reach of the keyboard`, await page.evaluate(unreachable))
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}-${width}.png`), fullPage: true })
    }
    // Unfolded, so that axe sees the tables too.
    await page.evaluate(() => { for (const box of document.querySelectorAll('details')) box.open = true })
    const [narrow] = WIDTHS
    await page.setViewportSize({ width: narrow, height: HEIGHT })
    check(`${name} ${colorScheme} ${narrow}: unfolded no wider than the window`, await page.evaluate(wide))
    await page.evaluate(axe)
    const result = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }))
    check(`${name} ${colorScheme}: axe finds nothing`, result.violations.flatMap(violation =>
      violation.nodes.map(node => `${violation.id}: ${node.target} ${node.failureSummary.replaceAll('\n', ' ')}`)))
    const tried = [...result.passes, ...result.violations].some(rule => rule.id === 'color-contrast')
    check(`${name} ${colorScheme}: axe did look at contrast`, tried ? [] : ['color-contrast was not tried'])
    check(`${name} ${colorScheme}: nothing told, nothing else asked for`, told)
    check(`${name} ${colorScheme}: one request`, asked.length === 1 ? [] : [...asked])
    await page.close()
  }
  await context.close()
}

// As it is sent, policy and all: a page whose scripts could run would say so by a dialog or an error.
{
  const page = await browser.newPage()
  const told = []
  page.on('console', message => told.push(message.text()))
  page.on('dialog', dialog => { told.push('a dialog'); dialog.dismiss() })
  await page.goto(`${origin}/planted`, { waitUntil: 'load' })
  check('planted: the page under its own policy', told)
  const blocked = await page.evaluate(() => {
    const script = document.createElement('script')
    script.textContent = 'window.ran = true'
    document.head.append(script)
    return window.ran === undefined ? [] : ['a script ran']
  })
  check('planted: the policy keeps scripts from running, were there one', blocked)
  await page.close()
}

await browser.close()
server.close()
writeFileSync(join(folder, 'result'), `${passed} ${failed}\n`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
