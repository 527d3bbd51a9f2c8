// The pictures of the dashboard in the documentation: the upper part of the busy page, light and dark.
// Usage: node pictures.mjs FOLDER BROWSER TO
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'

const [folder, executablePath, to] = process.argv.slice(2)
const { chromium } = createRequire(join(process.cwd(), 'package.json'))('playwright-core')
mkdirSync(to, { recursive: true })

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'] })
for (const colorScheme of ['light', 'dark']) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1000, height: 1000 } })
  await page.goto(pathToFileURL(resolve(folder, 'busy.html')).href)
  // What matters most at a glance, in the height of a screen.
  await page.evaluate(() => {
    for (const id of ['failures', 'stuck', 'subscriptions', 'ledger', 'health']) document.getElementById(id).remove()
    for (const box of document.querySelectorAll('#events .scroll, #events details ~ *, #credits article + article, details, footer')) box.remove()
  })
  await page.screenshot({ path: join(to, `dashboard-${colorScheme}.png`), fullPage: true })
  await page.close()
}
await browser.close()
