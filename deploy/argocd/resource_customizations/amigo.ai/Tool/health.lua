-- The kinds of amigo.ai follow kstatus: Ready always, Reconciling and Stalled only while true, status.observedGeneration,
-- which is -1 until the operator has seen the object. The same script serves all four kinds.

local function health(status, message)
  return {status = status, message = message}
end

local function told(condition)
  return tostring(condition.reason) .. ": " .. tostring(condition.message)
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]

-- Argo CD says so itself, or leaves it to the script. What holds the deletion up is worth reading.
if obj.metadata ~= nil and obj.metadata.deletionTimestamp ~= nil then
  if conditions["Reconciling"] ~= nil then
    return health("Progressing", "Pending deletion; " .. told(conditions["Reconciling"]))
  end
  return health("Progressing", "Pending deletion")
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "spec.suspend is true")
end
if ready == nil then
  return health("Progressing", "Waiting for the operator")
end
if obj.metadata ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to see the changed spec")
end
if ready.reason == "Suspended" then
  -- By its Organization.
  return health("Suspended", told(ready))
end
if conditions["Stalled"] ~= nil and conditions["Stalled"].status == "True" then
  return health("Degraded", told(conditions["Stalled"]))
end
if conditions["Reconciling"] ~= nil and conditions["Reconciling"].status == "True" then
  return health("Progressing", told(conditions["Reconciling"]))
end
if ready.status == "True" then
  return health("Healthy", told(ready))
end
return health("Progressing", told(ready))
