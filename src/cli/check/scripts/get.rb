require "net/http"

$stdout.sync = true
puts "Ruby #{RUBY_VERSION}"
begin
  Net::HTTP.get(URI(ARGV[0]))
rescue => error
  abort "#{error.class}: #{error.message}"
end
