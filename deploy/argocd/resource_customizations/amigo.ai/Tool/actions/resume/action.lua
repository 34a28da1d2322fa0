-- False rather than absent: the default of the schema, which a patch can set.
if obj.spec ~= nil then
  obj.spec.suspend = false
end
return obj
