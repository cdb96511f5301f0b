# `packaging/release.sh` fills in the address and the checksum of the sources.
class OtasProxy < Formula
  desc "Transparent logging HTTP(S) forward proxy for AI agents"
  url "@URL@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", "--profile", "dist", *std_cargo_args
    system bin/"otas-proxy", "man", "--folder", buildpath
    man1.install Dir["*.1"]
    generate_completions_from_executable(bin/"otas-proxy", "completions", shells: [:bash, :zsh, :fish])
  end

  service do
    run [opt_bin/"otas-proxy", "serve"]
    keep_alive true
    log_path var/"log/otas-proxy.log"
    error_log_path var/"log/otas-proxy.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/otas-proxy --version")
  end
end
