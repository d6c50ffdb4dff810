"use strict";

const byId = (id) => document.getElementById(id);
const API = "/api/v1";
const REFRESH_MS = 250;
let chosen = null;
let isRefreshDue = false;

function cell(row, text, className) {
  const td = row.insertCell();
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function shown(payload) {
  if (!payload) return "";
  if (payload.encoding === "json") return JSON.stringify(payload.data);
  return payload.data ? `base64 ${payload.data}` : "(empty)";
}

function timeOf(unixMs) {
  return new Date(unixMs).toLocaleTimeString([], { hourCycle: "h23" });
}

function whenOf(status) {
  if (!status.is_replayed) return timeOf(status.received_unix_ms);
  return `replayed, recorded ${timeOf(status.recorded_unix_ms || status.received_unix_ms)}`;
}

function pathOf(vehicle, device) {
  const role = encodeURIComponent(device.role);
  return `${API}/vehicles/${vehicle.company}/${vehicle.vehicle}` +
    `/devices/${device.module}/${device.device_type}/${role}`;
}

function choose(vehicle, device) {
  chosen = pathOf(vehicle, device);
  byId("target").textContent =
    `${vehicle.company}/${vehicle.vehicle}, ${device.module}/${device.device_type}/${device.role}`;
  byId("commanding").hidden = false;
  byId("command").focus();
}

function deviceRow(table, vehicle, device) {
  const row = table.insertRow();
  cell(row, `${device.module} / ${device.device_type} / ${device.role}`);
  cell(row, device.name);
  cell(row, device.is_connected ? "connected" : "away", device.is_connected ? "on" : "off");
  const last = device.last_status;
  cell(row, shown(last && last.status), "payload");
  cell(row, device.replayed ? `${device.statuses}, ${device.replayed} replayed` : device.statuses);
  cell(row, last ? whenOf(last) : "", last && last.is_replayed ? "replayed" : "");
  const button = document.createElement("button");
  button.textContent = "command";
  button.addEventListener("click", () => choose(vehicle, device));
  row.insertCell().append(button);
}

function vehicleSection(vehicle) {
  const section = document.createElement("section");
  const title = document.createElement("h2");
  const state = vehicle.is_ready ? "connected" : vehicle.is_connected ? "connecting" : "away";
  title.textContent = `${vehicle.company} / ${vehicle.vehicle}: ${state}`;
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of ["device", "name", "", "last status", "statuses", "at", ""]) {
    const th = document.createElement("th");
    th.textContent = text;
    head.append(th);
  }
  const body = table.createTBody();
  for (const device of vehicle.devices) deviceRow(body, vehicle, device);
  section.append(title, table);
  return section;
}

async function ask(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

async function refresh() {
  isRefreshDue = false;
  const vehicles = await ask(`${API}/vehicles`);
  const details = await Promise.all(
    vehicles.map((vehicle) => ask(`${API}/vehicles/${vehicle.company}/${vehicle.vehicle}`)));
  byId("empty").hidden = details.length > 0;
  byId("vehicles").replaceChildren(...details.map(vehicleSection));
}

function refreshNow() {
  refresh().catch((error) => { byId("link").textContent = String(error); });
}

function refreshSoon() {
  if (isRefreshDue) return;
  isRefreshDue = true;
  setTimeout(refreshNow, REFRESH_MS);
}

async function sendCommand(event) {
  event.preventDefault();
  const outcome = byId("outcome");
  try {
    const body = JSON.stringify({ command: JSON.parse(byId("command").value) });
    const headers = { "Content-Type": "application/json" };
    const sent = await ask(`${chosen}/commands`, { method: "POST", headers, body });
    outcome.textContent = `${sent.id}: ${sent.state}`;
    outcome.dataset.id = sent.id;
  } catch (error) {
    outcome.textContent = String(error);
  }
}

function listen() {
  const source = new EventSource(`${API}/events`);
  source.onopen = () => { byId("link").textContent = "live"; refreshSoon(); };
  source.onerror = () => { byId("link").textContent = "not connected, trying again"; };
  for (const kind of ["session", "status", "repeat", "device"]) {
    source.addEventListener(kind, refreshSoon);
  }
  source.addEventListener("command", (event) => {
    const news = JSON.parse(event.data);
    const outcome = byId("outcome");
    if (outcome.dataset.id === news.id) outcome.textContent = `${news.id}: ${news.state}`;
  });
}

byId("form").addEventListener("submit", sendCommand);
refreshNow();
listen();
