#!/usr/bin/env bash
# The browser tests drive Chromium. Install it where that is possible; elsewhere the tests say why they did not run.
set -u
for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null && exit 0; done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "==> installing Chromium for the browser tests"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 && exit 0
  echo "==> Chromium could not be installed; the browser tests will be skipped"
else
  echo "==> no Chromium and no right to install one; the browser tests will be skipped"
fi
